#!/bin/sh
# Certificates from a CA of one's own, in FOLDER on the controller: for Redis, and by the roles
# frontend and api for these. Prints what it makes.
#   make_certificates.sh FOLDER ensure HOST=ADDRESS ...  CA and certificates that are missing, end
#                                                        within 30 days, or name another address
#   make_certificates.sh FOLDER renew HOST=ADDRESS ...   a new certificate and key for each host
#   make_certificates.sh FOLDER renew-by-new-ca HOST=ADDRESS ...  the same between the two below
#   make_certificates.sh FOLDER new-ca                   a new CA; the old one, of which ca.crt is
#                                                        enough, is trusted beside it
#   make_certificates.sh FOLDER drop-old-ca HOST=ADDRESS ...  trust the new CA alone, when these hosts
#                                                        have certificates of it
#   make_certificates.sh FOLDER check-ACTION ...         nothing; prints what ACTION would make
# ca.crt is what everybody trusts: one CA, two while they change. Keys never leave FOLDER but for
# the one that a host needs.
set -eu
umask 077

folder=$1 action=$2
shift 2
checking=
case $action in check-*) checking=yes action=${action#check-} ;; esac
if [ -n "$checking" ] && [ ! -d "$folder" ]; then
    echo "would make a CA and certificates"
    exit 0
fi
mkdir -p "$folder"
chmod 0700 "$folder"
cd "$folder"

make_ca() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -subj "/CN=Nova CA $(date -u +%Y-%m-%dT%H:%M:%SZ)" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout issuer.key.new -out issuer.crt.new 2>/dev/null
    mv issuer.key.new issuer.key
    mv issuer.crt.new issuer.crt
    echo "made a CA"
}

make_certificate() {
    host=$1 address=$2
    case $address in
        *[!0-9.]*) [ "$address" = "${address#*:}" ] && kind=DNS || kind=IP ;;
        *) kind=IP ;;
    esac
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$host" \
        -keyout "$host.key.new" -out "$host.csr" 2>/dev/null
    cat > "$host.ext" <<END
subjectAltName=DNS:$host,DNS:localhost,IP:127.0.0.1,$kind:$address
extendedKeyUsage=serverAuth,clientAuth
basicConstraints=CA:FALSE
END
    openssl x509 -req -in "$host.csr" -CA issuer.crt -CAkey issuer.key -days 825 \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$host.ext" -out "$host.crt.new" 2>/dev/null
    mv "$host.key.new" "$host.key"
    mv "$host.crt.new" "$host.crt"
    echo "$address" > "$host.address"
    rm -f "$host.csr" "$host.ext"
    echo "made the certificate of $host"
}

# Whether the key is here of a CA that is trusted.
has_issuer() {
    [ -f issuer.key ] && openssl verify -CAfile ca.crt issuer.crt > /dev/null 2>&1
}

is_good() {
    host=$1 address=$2
    [ -f "$host.key" ] && [ "$(cat "$host.address" 2>/dev/null)" = "$address" ] &&
        openssl x509 -in "$host.crt" -noout -checkend 2592000 > /dev/null 2>&1 &&
        openssl verify -CAfile ca.crt "$host.crt" > /dev/null 2>&1
}

case $action in
    new-ca)
        [ -f ca.crt ] || { echo "$folder has no ca.crt: no CA to replace" >&2; exit 1; }
        # Interrupted half-way: the new one is there already, unless its key was lost.
        if [ "$(grep -c BEGIN ca.crt)" -gt 1 ] && has_issuer; then exit 0; fi
        if [ -n "$checking" ]; then
            echo "would make another CA"
            exit 0
        fi
        make_ca
        cat issuer.crt ca.crt > ca.crt.new
        mv ca.crt.new ca.crt
        exit 0
        ;;
    drop-old-ca)
        cmp -s issuer.crt ca.crt && exit 0
        if [ -n "$checking" ]; then
            echo "would trust the old CA no more"
            exit 0
        fi
        for pair in "$@"; do
            openssl verify -CAfile issuer.crt "${pair%%=*}.crt" > /dev/null 2>&1 || {
                echo "${pair%%=*}.crt is still of the old CA; renew it first" >&2
                exit 1
            }
        done
        cp issuer.crt ca.crt.new
        mv ca.crt.new ca.crt
        echo "the old CA is trusted no more"
        exit 0
        ;;
esac

# Nobody would trust what comes from a new one.
if [ -f ca.crt ] && ! has_issuer; then
    echo "$folder has no issuer.key of a CA in its ca.crt; copy the folder from the controller that" \
        "made it, or where the key is lost make another CA: for Redis with" \
        "rotate-certificates.yml -e new_ca=true, else as docs/operations.md says" >&2
    exit 1
fi
if [ ! -f issuer.key ]; then
    if [ -n "$checking" ]; then
        echo "would make a CA and certificates"
        exit 0
    fi
    make_ca
fi
[ -n "$checking" ] || [ -f ca.crt ] || cp issuer.crt ca.crt
for pair in "$@"; do
    host=${pair%%=*} address=${pair#*=}
    if [ "$action" = ensure ] && is_good "$host" "$address"; then continue; fi
    # Not everybody may trust the new CA yet.
    if [ "$action" != renew-by-new-ca ] && [ -f ca.crt ] && [ "$(grep -c BEGIN ca.crt)" -gt 1 ]; then
        echo "$host needs a certificate, and the CA is being changed: finish that first, with" \
            "rotate-certificates.yml -e new_ca=true" >&2
        exit 1
    fi
    if [ -n "$checking" ]; then
        echo "would make the certificate of $host"
    else
        make_certificate "$host" "$address"
    fi
done
