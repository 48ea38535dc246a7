"""The project: settings, addresses and the WSGI entry of the demo site."""
