"""What checks the chart without a cluster: Helm, and the definitions of other people's resources."""
