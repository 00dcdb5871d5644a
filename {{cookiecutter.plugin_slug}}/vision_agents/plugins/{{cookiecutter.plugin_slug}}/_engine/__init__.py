"""What is the same in every realtime plugin. Replaced as a whole by `cruft update`."""
