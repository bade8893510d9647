"""History from elsewhere as records of a stream: read, checked, put in order, added once."""
