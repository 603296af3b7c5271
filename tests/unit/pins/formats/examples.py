"""Files in the shapes that the formats' own documentation shows."""

from __future__ import annotations

A = "7HIpactkIAq2Y49orFOOQKurWxmmSFZhBCoQYcRhJ3Y="
B = "fwza0LRMXouZHRC8Ei+4PyuldPDcf3UKgO/04cDM1oE="

ANDROID = f"""<?xml version="1.0" encoding="utf-8"?>
<network-security-config>
    <domain-config>
        <domain includeSubdomains="true">example.com</domain>
        <pin-set expiration="2018-01-01">
            <pin digest="SHA-256">{A}</pin>
            <!-- backup pin -->
            <pin digest="SHA-256">{B}</pin>
        </pin-set>
    </domain-config>
</network-security-config>
"""

TRUSTKIT = f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>TSKSwizzleNetworkDelegates</key>
  <false/>
  <key>TSKPinnedDomains</key>
  <dict>
    <key>yahoo.com</key>
    <dict>
      <key>TSKExpirationDate</key>
      <string>2017-12-01</string>
      <key>TSKIncludeSubdomains</key>
      <true/>
      <key>TSKEnforcePinning</key>
      <false/>
      <key>TSKPublicKeyHashes</key>
      <array>
        <string>{A}</string>
        <string>{B}</string>
      </array>
      <key>TSKReportUris</key>
      <array><string>https://report.example/log</string></array>
    </dict>
  </dict>
</dict>
</plist>
"""

APPLE = f"""<dict>
  <key>NSAppTransportSecurity</key>
  <dict>
    <key>NSPinnedDomains</key>
    <dict>
      <key>example.org</key>
      <dict>
        <key>NSIncludesSubdomains</key>
        <true/>
        <key>NSPinnedCAIdentities</key>
        <array>
          <dict><key>SPKI-SHA256-BASE64</key><string>{A}</string></dict>
          <dict><key>SPKI-SHA256-BASE64</key><string>{B}</string></dict>
        </array>
      </dict>
    </dict>
  </dict>
</dict>
"""

OKHTTP = f"""val certificatePinner = CertificatePinner.Builder()
    // .add("old.example", "sha256/AAAA")
    .add("publicobject.com", "sha256/{A}")
    .add("publicobject.com",
         "sha256/{B}")
    .build()
"""
OKHTTP_LINES = f"# host and pin\n**.publicobject.com sha256/{A}\n**.publicobject.com sha256/{B}\n"

CURL = f"sha256//{A};sha256//{B}\n"

RFC7469 = f"""Public-Key-Pins: max-age=3000;
    pin-sha256="{A}";
    pin-sha256="{B}";
    report-uri="http://example.com/pkp-report"; includeSubDomains
"""
RFC7469_REPORT_ONLY = f"""Public-Key-Pins-Report-Only: max-age=2592000;
    pin-sha256="{A}"; pin-sha256="{B}"; report-uri="https://other.example.net/pkp-report"
"""

_D6, _E9, _LP = (
    "d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM=",
    "E9CZ9INDbd+2eRQozYqqbQ2yXLVKB9+xcprMF+44U1g=",
    "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
)
# RFC 7469 §2.1.5, all of it: the field, and the pins it holds.
RFC7469_ALL = [
    (f'Public-Key-Pins: max-age=3000;\n    pin-sha256="{_D6}";\n    pin-sha256="{_E9}"\n', (_D6, _E9)),
    (f'Public-Key-Pins: max-age=2592000;\n    pin-sha256="{_E9}";\n    pin-sha256="{_LP}"\n', (_E9, _LP)),
    (
        (
            f'Public-Key-Pins: max-age=2592000;\n    pin-sha256="{_E9}";\n    pin-sha256="{_LP}";\n'
            '    report-uri="http://example.com/pkp-report"\n'
        ),
        (_E9, _LP),
    ),
    (
        (
            f'Public-Key-Pins-Report-Only: max-age=2592000;\n    pin-sha256="{_E9}";\n    pin-sha256="{_LP}";\n'
            '    report-uri="https://other.example.net/pkp-report"\n'
        ),
        (_E9, _LP),
    ),
    (f'Public-Key-Pins:\n    pin-sha256="{_D6}";\n    pin-sha256="{_LP}";\n    max-age=259200\n', (_D6, _LP)),
    (
        (
            f'Public-Key-Pins:\n    pin-sha256="{_D6}";\n    pin-sha256="{_E9}";\n    pin-sha256="{_LP}";\n'
            "    max-age=10000; includeSubDomains\n"
        ),
        (_D6, _E9, _LP),
    ),
]

CHROMIUM = """// A comment about the whole file.
{
  "pinsets": [
    // Keys that must and keys that must not be there.
    {
      "name": "test",
      "static_spki_hashes": ["TestSPKI", "BackupSPKI"],
      "bad_static_spki_hashes": ["BadSPKI"],
      "report_uri": "https://report.example/"
    }
  ],
  "entries": [
    { "name": "hsts.example", "mode": "force-https" },
    { "name": "pinningtest.example", "include_subdomains": true, "pins": "test" }
  ]
}
"""
CHROMIUM_PINS = f"""# The keys.
PinsListTimestamp
1710374404

TestSPKI
sha256/{A}

BackupSPKI
sha256/{B}

BadSPKI
sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
"""

TLSA = """$ORIGIN example.com.
$TTL 3600
_443._tcp.www  IN TLSA ( 3 1 1   ; the leaf's key
    ec722969cb64200ab6638f68ac538e40
    abab5b19a6485661042a1061c4612776 )
               IN TLSA 0 1 1 7f0cdad0b44c5e8b991d10bc122fb83f2ba574f0dc7f750a80eff4e1c0ccd681
www            IN A 192.0.2.1
"""
