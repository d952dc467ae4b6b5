"""What a data set is, where it came from, and how it differs from another: profile, report, story, difference."""
