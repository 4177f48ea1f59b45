"""What reviews think of things: sentiment, ratings, aspects and topics; pure, no Spark."""
