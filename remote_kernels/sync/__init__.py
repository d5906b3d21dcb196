"""Two directories that are made alike, here and on a host.

Either side can be asked (``place``). What is on both is looked at (``walk``) but for what is left
out (``rules``), and what both had agreed on before is known (``agreed``). What follows from that is
decided (``plan``) and carried out (``execution``): rsync brings what files hold (``transfer``), and
:mod:`~remote_kernels.tree` puts them into place. ``pair`` is the whole of it, ``watch`` keeps it
going, and ``unison`` does its part where both sides have it.
"""
