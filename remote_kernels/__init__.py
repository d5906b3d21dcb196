"""All your Jupyter kernels, on all your machines, in one place."""

__version__ = "0.5.0"

#: Every kernelspec of ours has a name that starts so, as remote_ikernel's have.
KERNEL_NAME_PREFIX = "rik_"
