"""Gemini's generateContent: the requests it takes, and the answers it gives, whole and streamed."""
