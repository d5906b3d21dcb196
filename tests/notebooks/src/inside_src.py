"""In src."""

import tqdm
