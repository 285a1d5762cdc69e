"""Logs in to the demo engine as a Doris client does and prints the rows of one statement as JSON.

usage: query.py PASSWORD SQL
"""

import json
import sys

import pymysql

connection = pymysql.connect(host="127.0.0.1", port=9030, user="root", password=sys.argv[1], connect_timeout=5)
with connection, connection.cursor() as cursor:
    cursor.execute(sys.argv[2])
    print(json.dumps(cursor.fetchall(), default=str))
