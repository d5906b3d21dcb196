"""What our way to a kernel costs: against no ssh at all, and against the least that ssh can do.

``benchmarks/run`` is the command. ``contestants`` makes the three kernelspecs, ``measure`` drives
one of them as a front end does, ``figures`` says what is measured and what the limits are,
``report`` shows it.
"""
