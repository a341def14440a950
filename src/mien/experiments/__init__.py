"""The figures and tables of the papers, made again: one function and one command each, picture and numbers."""
