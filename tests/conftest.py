"""What holds for every test: nothing is fetched from anywhere."""

import os

# litellm would otherwise ask for its price list over the network when it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
