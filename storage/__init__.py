"""TimescaleDB: schema, migrations, binary COPY, queries. The only place with SQL."""
