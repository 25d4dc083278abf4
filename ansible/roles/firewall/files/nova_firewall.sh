#!/bin/sh
# The table `inet nova`, and no other. Prints what it changes.
#   nova-firewall is-applied      end with 1 unless wanted.nft is confirmed and loaded
#   nova-firewall apply SECONDS   apply wanted.nft, and take it back after SECONDS if not confirmed
#   nova-firewall confirm         what is applied stays, and is loaded at boot
#   nova-firewall back            return to the confirmed rules, or to none
#   nova-firewall remove          remove the table
set -eu
folder=/etc/nova-firewall
timer=nova-firewall-back

remove() {
    if nft list table inet nova > /dev/null 2>&1; then
        nft delete table inet nova
        echo "removed"
    fi
}

# A table that somebody has flushed is there, and filters nothing.
is_applied() {
    cmp -s "$folder/wanted.nft" "$folder/rules.nft" &&
        nft list table inet nova 2> /dev/null | grep -q 'accept$'
}

case ${1:-} in
    is-applied)
        is_applied || exit 1
        ;;
    apply)
        if is_applied; then exit 0; fi
        # Of a run before, which was interrupted.
        systemctl stop "$timer.timer" 2> /dev/null || true
        systemd-run --quiet --collect --on-active="$2" --unit="$timer" /usr/local/sbin/nova-firewall back
        nft --file "$folder/wanted.nft"
        touch "$folder/applied"
        echo "applied"
        ;;
    confirm)
        if [ ! -e "$folder/applied" ]; then
            # The time was over before the controller came.
            cmp -s "$folder/wanted.nft" "$folder/rules.nft" && exit 0
            echo "the host has returned to the rules before: nobody confirmed in time" >&2
            exit 1
        fi
        systemctl stop "$timer.timer"
        cp "$folder/wanted.nft" "$folder/rules.nft.new"
        mv "$folder/rules.nft.new" "$folder/rules.nft"
        rm "$folder/applied"
        echo "confirmed"
        ;;
    back)
        rm -f "$folder/applied"
        if [ -e "$folder/rules.nft" ]; then nft --file "$folder/rules.nft"; else remove; fi
        ;;
    remove)
        remove
        ;;
    *)
        echo "nova-firewall: say is-applied, apply SECONDS, confirm, back or remove" >&2
        exit 2
        ;;
esac
