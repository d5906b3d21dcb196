"""Names that differ: of modules and what has them, of PyPI's distributions and conda's packages.

They are asked only where no metadata tells: for what is not installed on this machine.
"""

from __future__ import annotations

#: What has a module, by the module's name, for as long as that is not the distribution's own; the
#: most common one first. Of the names of a package within a namespace the longest that fits counts.
DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    module: tuple(distributions.split())
    for module, _, distributions in (
        line.partition(" ")
        for line in """\
Bio biopython
Crypto pycryptodome
Cryptodome pycryptodomex
Geohash python-geohash
Imath OpenEXR
MySQLdb mysqlclient
OpenGL PyOpenGL
OpenSSL pyOpenSSL
PIL pillow
RPi RPi.GPIO
Xlib python-xlib
antlr4 antlr4-python3-runtime
ants antspyx
apiclient google-api-python-client
attr attrs
azure.storage.filedatalake azure-storage-file-datalake
barcode python-barcode
bs4 beautifulsoup4
bson pymongo
cairo pycairo
camelot camelot-py
can python-can
clr pythonnet
community python-louvain
cv2 opencv-python opencv-python-headless opencv-contrib-python opencv-contrib-python-headless
databricks.sql databricks-sql-connector
dateutil python-dateutil
decouple python-decouple
dicom pydicom
discord discord.py
dns dnspython
docx python-docx
dot_parser pydot
dotenv python-dotenv
ee earthengine-api
engineio python-engineio
faiss faiss-cpu faiss-gpu
ffmpeg ffmpeg-python
fitz PyMuPDF
gdalconst GDAL
gi PyGObject
git GitPython
github PyGithub
gitlab python-gitlab
google.cloud.exceptions google-cloud-core
google.cloud.pubsub_v1 google-cloud-pubsub
google.cloud.secretmanager google-cloud-secret-manager
google.cloud.translate_v2 google-cloud-translate
google.oauth2 google-auth
google.protobuf protobuf
googleapiclient google-api-python-client
googlesearch googlesearch-python
graphql graphql-core
gridfs pymongo
haiku dm-haiku
imblearn imbalanced-learn
jose python-jose
jwt PyJWT
kafka kafka-python
ldap python-ldap
libtiff pylibtiff
llama_cpp llama-cpp-python
magic python-magic
memcache python-memcached
mpl_toolkits matplotlib
mpl_toolkits.basemap basemap
multipart python-multipart
mysql mysql-connector-python
nacl PyNaCl
nmap python-nmap
odf odfpy
ogr GDAL
osgeo GDAL
osr GDAL
paho paho-mqtt
past future
pdfminer pdfminer.six
pkg_resources setuptools
pptx python-pptx
psycopg2 psycopg2 psycopg2-binary
pylab matplotlib
pythoncom pywin32
pywintypes pywin32
pywt PyWavelets
rest_framework djangorestframework
serial pyserial
skbio scikit-bio
skfuzzy scikit-fuzzy
skimage scikit-image
sklearn scikit-learn
sklearn_extra scikit-learn-extra
sklearnex scikit-learn-intelex
skmisc scikit-misc
skopt scikit-optimize
sksparse scikit-sparse
sksurv scikit-survival
slugify python-slugify
smbus smbus2
snappy python-snappy
snowflake.connector snowflake-connector-python
snowflake.snowpark snowflake-snowpark-python
socketio python-socketio
socks PySocks
sonnet dm-sonnet
speech_recognition SpeechRecognition
stdnum python-stdnum
tabula tabula-py
telegram python-telegram-bot
tree dm-tree
umap umap-learn
usb pyusb
usb1 libusb1
vcf PyVCF3 PyVCF
websocket websocket-client
whois python-whois
win32api pywin32
win32clipboard pywin32
win32com pywin32
win32con pywin32
win32gui pywin32
wx wxPython
xdg pyxdg
yaml PyYAML
zmq pyzmq""".splitlines()
    )
}

#: Packages that several distributions share; each is named after what it adds.
NAMESPACES = frozenset(
    {"azure", "azure.ai", "azure.keyvault", "azure.mgmt", "azure.storage", "backports", "google"}
    | {"google.cloud", "jaraco", "ruamel", "sphinxcontrib", "zope"}
)

#: Modules that are nowhere but in the service that has them.
NOWHERE_ELSE: dict[str, str] = {
    "dbutils": "Databricks",
    "google.colab": "Google Colab",
    "kaggle_secrets": "Kaggle",
    "pyodide_js": "Pyodide",
    "piplite": "JupyterLite",
}

#: Modules of the standard library that some version of Python has, and others have not.
STANDARD_OF_OTHER_VERSIONS = frozenset(
    # up to 3.9, 3.11 and 3.12
    {"formatter", "parser", "symbol", "macpath", "binhex", "dummy_threading", "_dummy_thread"}
    | {"asynchat", "asyncore", "distutils", "imp", "smtpd"}
    | {
        "aifc",
        "audioop",
        "cgi",
        "cgitb",
        "chunk",
        "crypt",
        "imghdr",
        "lib2to3",
        "mailcap",
        "msilib",
    }
    | {"nis", "nntplib", "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu"}
    | {"xdrlib"}
    # from 3.9, 3.11 and 3.14 on
    | {"zoneinfo", "graphlib", "tomllib", "annotationlib", "compression"}
    # Python 2
    | {"__builtin__", "BaseHTTPServer", "ConfigParser", "Cookie", "HTMLParser", "Queue"}
    | {"SimpleHTTPServer", "SocketServer", "StringIO", "Tkinter", "anydbm", "cPickle", "cStringIO"}
    | {"commands", "cookielib", "copy_reg", "dummy_thread", "htmlentitydefs", "httplib"}
    | {"robotparser", "sets", "thread", "tkFileDialog", "tkMessageBox", "ttk", "urllib2"}
    | {"urlparse", "xmlrpclib"}
)

#: What conda calls a distribution, where that is another name than PyPI's.
CONDA: dict[str, str] = {
    "build": "python-build",
    "docker": "docker-py",
    "duckdb": "python-duckdb",
    "faiss-gpu": "faiss",
    "graphviz": "python-graphviz",
    "kaleido": "python-kaleido",
    "msgpack": "msgpack-python",
    "opencv-contrib-python": "opencv",
    "opencv-contrib-python-headless": "opencv",
    "opencv-python": "opencv",
    "opencv-python-headless": "opencv",
    "psycopg2-binary": "psycopg2",
    "pyqt5": "pyqt",
    "tables": "pytables",
    "torch": "pytorch",
}

#: What a package of conda's is on PyPI, where that is another name.
FROM_CONDA: dict[str, str] = {
    **{conda: distribution for distribution, conda in reversed(CONDA.items())},
    "matplotlib-base": "matplotlib",
    "py-opencv": "opencv-python",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
    "seaborn-base": "seaborn",
    "dask-core": "dask",
    "tensorflow-base": "tensorflow",
}

#: What the extensions of IPython are called that ``%load_ext`` knows by shorter or older names;
#: those of IPython itself are in no distribution of their own.
EXTENSIONS: dict[str, str] = {
    "autoreload": "",
    "storemagic": "",
    "cythonmagic": "Cython",
    "rmagic": "rpy2",
    "octavemagic": "oct2py",
    "parallelmagic": "ipyparallel",
    "sympyprinting": "sympy",
}

#: What line magics need that is installed beside IPython; each with its modules.
MAGICS: dict[str, tuple[str, ...]] = {
    "matplotlib": ("matplotlib",),
    "pylab": ("matplotlib", "numpy"),
}
