//! The configuration file: lexer with spans, schema table, diagnostics.
