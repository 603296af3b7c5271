"""HTTP/1.1 without I/O: read messages strictly, forward them cleanly, refuse the rest with a reason.

`stream` turns bytes into events, with `head`, `framing` and `chunked` below it and `grammar` at the bottom; `target`
and `connection` say what a head means; `fields` writes heads for the other side; `refusal` writes our own answers.
"""
