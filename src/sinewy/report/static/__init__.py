"""Figures of the pages as files for papers, drawn by Matplotlib."""
