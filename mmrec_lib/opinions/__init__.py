"""Opinions of reviews: sentiment, ratings, aspects and topics; pure, no Spark."""
