"""Speed, as ratios against limits measured in the same run. ``./alatau bench NAME``."""
