"""The demo: a kernel at the far end of a throw-away ssh server, from the first login to the last.

``run`` tells the story, ``kernel`` drives the kernel as a front end does, ``server`` is the far
side, ``end_signals`` lets a person end it at any moment. Nothing here is imported by a kernel, and
``server`` needs asyncssh, which comes with the extra ``demo`` only.
"""
