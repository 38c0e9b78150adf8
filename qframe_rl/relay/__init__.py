"""Events of journals on their way to other hosts: each once, in order, chained by its hash to the one before."""
