"""Tables of the pages in the form that a paper, a README or a program wants."""
