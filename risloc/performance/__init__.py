"""The Cramer-Rao bound and the measures of error."""
