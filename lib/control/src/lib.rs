//! Control-socket messages, codec, roles and reply codes.
