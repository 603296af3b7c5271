"""`./dev soak`: mixed traffic with faults, for minutes or hours, and nothing that grows.

`__main__.py` tells the story; `origins.py` and `clients.py` are the peers, bad ones among them; `subject.py` is the proxy,
which can be counted; `weighing.py` says what counts as growth.
"""
