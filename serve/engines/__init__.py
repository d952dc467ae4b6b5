"""What generates text: one file per engine, all behind the contract in `base.py`."""
