"""`demo`: the promises of the proxy, kept before one's eyes. Embedded servers, the real proxy, real clients, no network.

The scenes and what counts as a promise kept are in `story.py`; `stage.py` sets them; `command.py` tells them.
"""
