"""What starts Kafka, Redis and the workers: the local stack, and files for Docker."""
