from flask import Flask

app = Flask(__name__)
EDITION = "edition 0"


@app.get("/")
def index() -> str:
    return f"<!doctype html><title>A Flask app</title><p>{EDITION}</p>\n"
