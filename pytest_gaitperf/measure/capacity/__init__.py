"""How many subjects a model serves in real time: the search, and what drives it."""
