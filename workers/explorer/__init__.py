"""``latentstream explore``: a web page that shows what a running system does. It only reads."""
