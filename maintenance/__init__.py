"""The maintenance process: what keeps the stored data fit to be asked, without anybody asking."""
