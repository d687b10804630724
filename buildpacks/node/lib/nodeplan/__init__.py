"""What to do with a Node app: the decisions of bin/compile, which an import tells as well."""
