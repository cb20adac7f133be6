"""The dashboard: an MQTT client with a face. Its rights are those of who has logged in.

    broker --> Link (one connection per user) --> Fleet (a fold, no I/O) --> pages --> browser
                 ^                                                                        |
                 +------------- one request on `_control/request` <--- a form, checked ---+

It reads what the broker carries and writes only requests to the coordinator. Every word that
comes from the broker is text to it, never markup: `markup` escapes by construction.
"""
