"""``cs3 doctor``: is this machine ready, are the topics there; one line of advice per problem.

Uses bundles and ros; used by nothing but the command line.
"""
