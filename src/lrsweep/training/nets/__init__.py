"""Networks for the setting model.target, besides the documents' CNN."""
