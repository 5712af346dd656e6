#!/usr/bin/perl
# SPDX-License-Identifier: GPL-3.0-or-later
# Compares doc/operations.md with the sources, and prints what does not fit: what is logged at warning
# and above with the tables under "Log lines", both ways; the reference's options, which are listed
# under "Moving over", with agent/options.def. Run in the top directory.
use strict;
use warnings;

my $call = qr/\b(log_(?:job_)?(?:warn|error)|options_warn|slurm_error|syslog|complain
                |tell(?=\(e,\s*LOG_LEVEL_(?:WARN|ERROR)))\s*(\([^";{]*?)/x;
my $literal = qr/((?:"(?:[^"\\]|\\.)*"\s*|PRI[a-z]\d+\s*)+)/; # with what the preprocessor joins to it

# A text with all its fields alike: %s in the source, <words> in the guide.
sub form {
    my ($s) = @_;
    $s =~ s/%[-+ #0-9.*]*(?:hh|h|ll|l|z|j)?[a-zA-Z]/<>/g;
    $s =~ s/<[^>]*>/<>/g;
    $s =~ s/<>(?:\.?<>)+/<>/g;
    return $s;
}

sub slurp {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    return <$in>;
}

my (%source, %level, %guide);
for my $file (grep { m{^plugins/|^proto/|^agent/} } split /\n/, `git ls-files -co --exclude-standard '*.c'`) {
    my $code = slurp($file);
    while ($code =~ /$call$literal/g) {
        my ($function, $before, $text, $line) = ($1, $2, $3, 1 + (substr($code, 0, $-[0]) =~ tr/\n//));
        $text =~ s/"\s*PRI[a-z]\d+\s*(?:"|$)/u/g; # the % stands before it
        $text =~ s/"\s*"//g;
        $text =~ s/^"|"\s*$//g;
        $text =~ s/\\"/"/g;
        $text = "registration: $text" if $function eq 'tell'; # agent/engine/register.c
        $source{form($text)} //= "$file:$line: $text";
        $level{form($text)}{"$function$before" =~ /error/i ? 'e' : 'w'} = 1 if $file =~ m{^agent/};
    }
}
my $guide = slurp('doc/operations.md');
my ($lines) = $guide =~ /^## Log lines\n(.*?)(?=^## |\z)/ms;
while ($lines =~ /^\| (`+) ?(.+?) ?\1 \| (?:\(([we])\))?/mg) {
    my ($text, $said, $is) = ($2, $3 // '', $level{form($2)});
    print "there twice: $text\n" if $guide{form($text)};
    print "of another level: $text\n" if $is && !$is->{$said};
    $guide{form($text)} = $text;
}
print "doc/operations.md says nothing of: $source{$_}\n" for sort grep { !$guide{$_} } keys %source;
print "no source has: $guide{$_}\n" for sort grep { !$source{$_} } keys %guide;

my $options = slurp('agent/options.def');
my ($rows) = $guide =~ /^## Moving over [^\n]*\n(.*?)(?=^## |\z)/ms;
while ($rows =~ /^\| `--([^`]+)` \| (?:`(\w+)` )?\|/mg) {
    my $variable = $2 ? qr/"$2"/ : qr/NULL/;
    print "agent/options.def has not: --$1 with ", $2 // 'no variable', "\n" unless $options =~ /"\Q$1\E",\s*$variable/;
}
