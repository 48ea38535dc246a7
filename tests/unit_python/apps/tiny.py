"""Owns the app that worker processes under test run: the path says what it does."""

import ctypes
import os
import subprocess
import threading
import time

go_on = threading.Event()


def application(environ, start_response):
    """Do what the path says and answer with a short text."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [DOINGS[environ["PATH_INFO"]]().encode()]


def hello():
    return "hello"


def block():
    go_on.wait()
    return "blocked"


def release():
    go_on.set()
    return "released"


def hold_the_lock():
    # A C library that has locked itself up, called without letting go of the interpreter.
    library = ctypes.PyDLL(None)
    mutex = ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def wait_a_moment():
    time.sleep(0.3)
    return "waited"


def signals_of_a_child():
    return subprocess.check_output(["grep", "^Sig", "/proc/self/status"], text=True)


def name_of_the_thread():
    return f"{threading.current_thread().name} {os.getpid()}"


def compute():
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass
    return name_of_the_thread()


DOINGS = {
    "/compute": compute,
    "/": hello,
    "/block": block,
    "/release": release,
    "/hold": hold_the_lock,
    "/moment": wait_a_moment,
    "/signals": signals_of_a_child,
    "/name": name_of_the_thread,
}
