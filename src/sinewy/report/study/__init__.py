"""The page of a study, for somebody who compares methods: its sections, figures and tables."""
