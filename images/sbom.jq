# An SPDX document from what `sbom` gathered. In it the image contains Debian packages and our programs, and those are linked with crates.
($debian[0]) as $debian | ($crates[0]) as $crates | ($ours[0]) as $ours | ($sums[0]) as $sums | ($metadata[0]) as $metadata
| def id($kind; $name): "SPDXRef-\($kind)-\($name | gsub("[^A-Za-z0-9.-]"; "-"))";
  def purl($text): [{referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: $text}];
  def package($id; $name; $version): {
      SPDXID: $id, name: $name, versionInfo: $version, downloadLocation: "NOASSERTION", filesAnalyzed: false,
      licenseConcluded: "NOASSERTION", licenseDeclared: "NOASSERTION", copyrightText: "NOASSERTION"};
  def relation($from; $type; $to): {spdxElementId: $from, relationshipType: $type, relatedSpdxElement: $to};
  # Old manifests separate licences with a slash.
  def expression: if . == null then "NOASSERTION" else gsub("/"; " OR ") | gsub("  +"; " ") end;
  ($metadata | to_entries[] | select(.key | startswith("\($image) ")) | .key | split(" ")[1]) as $version
| id("Image"; $image) as $root
| ([$crates[] | select(.name as $name | $ours | any(.name == $name) | not)] | unique_by([.name, .version])) as $libraries
| {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: "\($image)-\($version)",
    documentNamespace: "https://stillframe.dev/spdx/\($image)-\($version)-\($ours | map(.sum[0:16]) | join("-"))",
    creationInfo: {created: ($epoch | todate), creators: ["Organization: Stillframe", "Tool: stillframe-images-sbom"]},
    packages: ([
        package($root; $image; $version) + {
            primaryPackagePurpose: "CONTAINER", summary: $title, licenseDeclared: $licences,
            externalRefs: purl("pkg:oci/\($image)?tag=\($version)")}
      ] + [
        $debian[] | package(id("Debian"; .Package); .Package; .Version) + {
            licenseComments: "in the image: /usr/share/doc/\(.Package)/copyright",
            sourceInfo: "built by Debian from \(.Source // .Package)",
            supplier: "Organization: Debian",
            externalRefs: purl("pkg:deb/debian/\(.Package | @uri)@\(.Version | @uri)?arch=\(.Architecture)&distro=debian-forky")}
      ] + [
        $ours[] | package(id("Program"; .name); .name; $version) + {
            primaryPackagePurpose: "APPLICATION", licenseDeclared: "Apache-2.0", checksums: [{algorithm: "SHA256", checksumValue: .sum}],
            externalRefs: purl("pkg:generic/\(.name)@\($version)")}
      ] + [
        $libraries[] | "\(.name) \(.version)" as $key | package(id("Crate"; "\(.name)-\(.version)"); .name; .version) + {
            primaryPackagePurpose: "LIBRARY", licenseDeclared: ($metadata[$key].license | expression),
            externalRefs: (if $metadata[$key].foreign then purl("pkg:cargo/\(.name)@\(.version | @uri)") else purl("pkg:generic/\(.name)@\(.version | @uri)") end)}
          + (if $sums[$key] then {checksums: [{algorithm: "SHA256", checksumValue: $sums[$key]}],
                downloadLocation: "https://crates.io/api/v1/crates/\(.name)/\(.version)/download"} else {} end)
          + (if $metadata[$key].foreign then {licenseComments: "in the image: /usr/share/doc/\($image)/crates/\(.name)-\(.version)/"} else {} end)
      ] + [
        package("SPDXRef-Rust-library"; "rust-std"; $rust) + {
            primaryPackagePurpose: "LIBRARY", licenseDeclared: "MIT OR Apache-2.0", licenseComments: "in the image: /usr/share/doc/\($image)/rust-library-copyright.html",
            externalRefs: purl("pkg:generic/rust-std@\($rust)")}
      ] + [
        $ours[] | select(.name == "stillframe-archiver") | package("SPDXRef-Static-glibc"; "glibc"; $glibc) + {
            primaryPackagePurpose: "LIBRARY", licenseDeclared: "LGPL-2.1-or-later", licenseComments: "in the image: /usr/share/doc/libc6/copyright",
            comment: "the builder's, linked statically into stillframe-archiver", externalRefs: purl("pkg:generic/glibc@\($glibc)")}
      ]),
    relationships: ([relation("SPDXRef-DOCUMENT"; "DESCRIBES"; $root)]
      + [$debian[] | relation($root; "CONTAINS"; id("Debian"; .Package))]
      + [$ours[] | relation($root; "CONTAINS"; id("Program"; .name)), relation(id("Program"; .name); "STATIC_LINK"; "SPDXRef-Rust-library")]
      + [$ours[] | select(.name == "stillframe-archiver") | relation(id("Program"; .name); "STATIC_LINK"; "SPDXRef-Static-glibc")]
      + [$crates[] | select(.name != .program) | . as $crate
          | (if $ours | any(.name == $crate.name) then id("Program"; .name) else id("Crate"; "\(.name)-\(.version)") end) as $linked
          | relation(id("Program"; .program); "STATIC_LINK"; $linked)])
  }
