"""Covariance matrices as factors."""
