"""One readable story for each way of carrying traffic, and what the stories share."""
