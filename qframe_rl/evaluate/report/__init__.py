"""Reports: what a run's folder says, in plain words, tables and charts, as a web page and as a PDF."""
