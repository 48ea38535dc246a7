"""The commands `load_topics` and `setup_demo`."""
