"""How good a search is: judged sets in BEIR's layout, questions whose answer's place is known, and the figures."""
