"""What the tests share: starting the program, speaking to it over raw sockets, and holding views
of the app until the test lets them go. Leaves what is expected to the tests.
"""
