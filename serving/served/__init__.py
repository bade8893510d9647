"""The served log: answers are noted as they go out, and written to the lake behind their back."""
