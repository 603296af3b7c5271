"""The admin server: health, metrics, the public certificate of the local CA and the status page. Never on the data path."""
