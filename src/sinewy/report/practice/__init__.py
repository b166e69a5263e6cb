"""The pages of an audit and of a limit, for somebody who wants to use a pruned network."""
